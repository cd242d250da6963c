"""How orders are carried out: lives brought into memory in company, names for new builds."""
