"""A table under rules, with the two tenants that tests of rules know."""

from scheduler.model.cluster import Cluster
from scheduler.model.events import Configured
from scheduler.model.policy import Policy
from scheduler.model.rules import Rules
from scheduler.model.units import US_PER_S
from tests.support.builders import CATALOG, QUICK, tenants
from tests.support.harness import Table

HOUR_US = 3_600 * US_PER_S


def ruled(fleet: Cluster, rules: Rules, policy: Policy = QUICK) -> Table:
    return Table(Configured(CATALOG, fleet, tenants(red={}, blue={}), rules, policy))
