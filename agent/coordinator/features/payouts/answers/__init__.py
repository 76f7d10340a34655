"""The answers about payouts and deposits."""
