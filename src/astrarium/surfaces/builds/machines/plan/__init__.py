"""What may happen to builds that are driven by plans (Stardag's `/api/v2`): plans, claims, deployments, limits."""
