"""Reading the audit log, and what goes into it about errors of our own.

What an act is and how records hang together is in `kernel/audit`; here is what people and programs ask of the log.
"""
