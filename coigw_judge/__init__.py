"""coigw-judge: a large language model judges a crawl of Chinese writing; what passes a gate is kept."""

from coigw_judge.decide.gate import Decision, Gate
from coigw_judge.prompting.rubric import Rubric, load_rubric
from coigw_judge.replies.outcome import Scored, Unscored
from coigw_judge.replies.parse import parse_reply

__version__ = "0.1.0"
__all__ = ["Decision", "Gate", "Rubric", "Scored", "Unscored", "__version__", "load_rubric", "parse_reply"]
