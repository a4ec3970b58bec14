"""coigw-judge: a large language model judges a crawl of Chinese writing; what passes a gate is kept."""

from coigw_judge.gate import Decision, Gate
from coigw_judge.reply import Scored, Unscored, parse_reply
from coigw_judge.rubric import Rubric, load_rubric

__version__ = "0.1.0"
__all__ = ["Decision", "Gate", "Rubric", "Scored", "Unscored", "__version__", "load_rubric", "parse_reply"]
