"""The images that are learned from, and how they are shown to the model."""

from typing import Literal

from pydantic import Field, field_validator

from datasets_tools.caption_variants import CaptionVariation
from datasets_tools.errors import DatasetError
from datasets_tools.groups import read_folder_line
from trainer.config.section import Section


class DatasetConfig(Section):
    """A folder of images, each with a caption in a text file of the same name."""

    path: str = Field(default="", description="Folder with the images and their captions.")
    folders: list[str] = Field(
        default_factory=list,
        description="Further folders of the same dataset, one per line, with how often each of "
        "their images is shown in an epoch in front: 3 x PATH. Without a number it is that of a "
        "name like 3_cats, or 1. Sub-folders with such names are part of a dataset by themselves.",
    )
    trigger: str = Field(
        default="",
        max_length=200,
        description="Word or phrase put first in every caption; it calls up what was learned.",
    )
    resolution: int = Field(
        default=0,
        ge=0,
        le=4096,
        description="Side in pixels of a square training image; 0 takes the base model's own size.",
    )
    bucket_step: int = Field(
        default=0,
        ge=0,
        le=512,
        description="Bucket sides are multiples of this many pixels; 0 takes the smallest step "
        "that the base model can take.",
    )
    max_aspect: float = Field(
        default=2.0, ge=1.0, le=4.0, description="Longest side over shortest side of a bucket."
    )
    max_upscale: float = Field(
        default=1.25,
        ge=1.0,
        le=8.0,
        description="Images smaller than their bucket are enlarged at most by this factor; "
        "beyond it they go to a smaller bucket.",
    )
    flip: bool = Field(
        default=False,
        description="Also show every image mirrored; leave off for asymmetric characters and text.",
    )
    shuffle_tags: bool = Field(
        default=False,
        description="Shuffle the comma-separated tags of a caption each time it is shown.",
    )
    keep_tags: int = Field(
        default=1,
        ge=0,
        le=100,
        description="The first tags that are neither shuffled nor left out.",
    )
    keep_separator: str = Field(
        default="",
        max_length=20,
        description="In a caption with this text, such as |||, the tags before it are kept instead "
        "of the first dataset.keep_tags, and those after a second one stay last.",
    )
    tag_dropout: float = Field(
        default=0.0,
        ge=0.0,
        le=1.0,
        description="Share of times that each tag is left out of a caption; kept tags and the "
        "trigger never are.",
    )
    protected_tags: str = Field(
        default="",
        max_length=2000,
        description="Tags that dataset.tag_dropout never leaves out, with commas between them.",
    )
    alternatives: bool = Field(
        default=False,
        description="Replace {a|b} in captions by one of its parts, another each time.",
    )
    caption_dropout: float = Field(
        default=0.0,
        ge=0.0,
        le=1.0,
        description="Share of times an image is shown with an empty caption, which strengthens "
        "the effect of guidance.",
    )
    masks: Literal["off", "folder", "alpha"] = Field(
        default="off",
        description="Which part of each image is learned: folder takes a grey image of the "
        "same name from the sub-folder masks, or NAME-masklabel beside the image (white is "
        "learned), alpha the image's own transparency. "
        "Images without a mask are learned whole.",
    )
    class_word: str = Field(
        default="",
        max_length=200,
        description="What the trigger is an instance of, such as cat: prior preservation shows it "
        "instead of the trigger, and the embedding of adapter.word_vectors starts from it.",
    )
    prior_path: str = Field(
        default="",
        description="Folder of images of the class with captions, for objective.prior = images.",
    )
    held_out: int = Field(
        default=0,
        ge=0,
        le=1000,
        description="So many images are left out of training, for `lorasmith evaluate`: their loss "
        "shows how much was memorised.",
    )

    @property
    def variation(self) -> CaptionVariation:
        """What changes in a caption each time it is shown."""
        protected = {
            tag.strip().lower() for tag in f"{self.protected_tags},{self.trigger}".split(",")
        }
        return CaptionVariation(
            shuffle=self.shuffle_tags,
            keep=self.keep_tags,
            separator=self.keep_separator,
            tag_dropout=self.tag_dropout,
            protected=frozenset(protected),
            alternatives=self.alternatives,
        )

    @field_validator("folders")
    @classmethod
    def _check_folders(cls, folders: list[str]) -> list[str]:
        lines = [line.strip() for line in folders if line.strip()]
        for line in lines:
            try:
                read_folder_line(line)
            except DatasetError as error:
                raise ValueError(str(error)) from error
        return lines
