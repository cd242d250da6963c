"""The router that follows rules over the run's state: loops, branches, questions.

`plan` what a graph is compiled to · `memo` what is remembered of a run · `facts`, `agenda` which rules match and what they decide ·
`pattern` raw CLIPS · `policy` what packs make of a step, `pack` their rules in CLIPS, `budget` what is used up · `merge` branches become
one way · `state` what a patch may write · `router` the moves.
"""

from .plan import OUTCOME_FIELD, VISITS_FIELD
from .router import RulesRouter

__all__ = ["OUTCOME_FIELD", "VISITS_FIELD", "RulesRouter"]
