-- Brings a current database back to the schema of revision 0013.
DROP TABLE run_outputs;
DROP TABLE browser_session_keys;
DROP TABLE browser_sessions;
ALTER TABLE miner_commands RENAME TO miner_orders;
ALTER TABLE miner_orders RENAME COLUMN command_id TO order_id;
DROP INDEX ix_miner_commands_miner;
UPDATE miners SET capabilities = replace(capabilities, '"unavailable_models"', '"withheld"');
DROP INDEX ix_jobs_not_notified;
ALTER TABLE jobs DROP COLUMN needs;
ALTER TABLE jobs DROP COLUMN notified_at;
UPDATE alembic_version SET version_num = '0013';
