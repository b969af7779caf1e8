"""Colours and layout. Blue 700 and red 700 keep the contrast that Gradio's orange does not."""

from pathlib import Path

import gradio as gr


def make_theme() -> gr.themes.Base:
    """Returns the theme; its fonts come with Gradio, so nothing is loaded from elsewhere."""
    hues = gr.themes.Default(
        primary_hue=gr.themes.colors.blue,
        secondary_hue=gr.themes.colors.slate,
        neutral_hue=gr.themes.colors.slate,
    )
    return hues.set(
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover_dark="*primary_600",
        button_primary_text_color="white",
        button_cancel_background_fill="#b91c1c",
        button_cancel_background_fill_hover="#991b1b",
        button_cancel_background_fill_dark="#b91c1c",
        button_cancel_background_fill_hover_dark="#dc2626",
        button_cancel_text_color="white",
        button_cancel_text_color_dark="white",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_300",
        block_label_text_color="*neutral_700",
        block_label_text_color_dark="*neutral_200",
        slider_color="*primary_700",
    )


def read_css() -> str:
    """Returns the page's own style sheet."""
    return (Path(__file__).parent / "style.css").read_text(encoding="utf-8")
