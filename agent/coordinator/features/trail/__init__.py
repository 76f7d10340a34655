"""The trail of what administrators have done: who credited whom, created keys, removed miners."""
