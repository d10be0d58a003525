"""Configuration that ships with dualtrack: accelerators, clusters, tenants, rules, policies, workloads."""
