"""Execution of a plan; what is finished is kept, so that a stopped run can be continued."""
