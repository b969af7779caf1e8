"""The contract check: does a file mean the same to every program that reads it?

It works on anybody's file, without a base model. Each rule is a function from the facts about a
file to findings; what they know about other programs was measured on those programs.
"""

from trainer.files.verify.rules import RULES, judge, verify_file

__all__ = ["RULES", "judge", "verify_file"]
