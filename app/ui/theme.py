"""Colours and layout. Blue 700 and red 700 keep the contrast that Gradio's orange does not."""

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


CSS = """
.watch { display: none !important; }
.gradio-container { width: 100% !important; max-width: 1240px !important;
  margin: 0 auto !important; }
[data-testid="status-tracker"].hide { display: none !important; }
.html-container { padding: 0 !important; }
.block:has(> .html-container > .prose:empty) { display: none; }
#dataset-create { align-self: flex-end; margin-bottom: 10px; }
#heading h1 { font-size: 1.6rem; margin: 0; }
#heading p { margin: 0; color: var(--body-text-color-subdued); }
.note { margin: .25rem 0; padding: .5rem .75rem; border-radius: .5rem;
  border-left: 4px solid var(--primary-700); background: var(--background-fill-secondary);
  color: var(--body-text-color); }
.note-good { border-color: #15803d; } .note-warning { border-color: #b45309; }
.note-error { border-color: #b91c1c; }
.quiet { color: var(--body-text-color-subdued); }
.bar { display: flex; flex-wrap: wrap; gap: .25rem .75rem; align-items: center;
  padding: .5rem .75rem; border-radius: .5rem; background: var(--background-fill-secondary);
  color: var(--body-text-color); }
.dot { width: .7rem; height: .7rem; border-radius: 50%; background: #64748b; }
.dot-running, .dot-starting { background: #1d4ed8; } .dot-finished { background: #15803d; }
.dot-paused, .dot-stopped { background: #b45309; } .dot-failed, .dot-lost { background: #b91c1c; }
.track { height: .9rem; border-radius: .5rem; background: var(--neutral-200); overflow: hidden; }
.dark .track { background: var(--neutral-700); }
.fill { height: 100%; background: var(--primary-700); transition: width .3s; }
.dark .fill { background: var(--primary-500); }
.log { max-height: 18rem; overflow: auto; white-space: pre-wrap; overflow-wrap: anywhere;
  font-size: .8rem; padding: .5rem; border-radius: .5rem; color: var(--body-text-color);
  background: var(--background-fill-secondary); }
.setting-section .form { display: grid !important; width: 100%;
  background: var(--block-background-fill) !important;
  grid-template-columns: repeat(auto-fill, minmax(min(260px, 100%), 1fr)); }
.setting-section .setting { min-width: 0 !important; }
.tiles { display: grid; gap: .5rem; grid-template-columns: repeat(auto-fill, minmax(112px, 1fr)); }
.tile, .cell, .card { border: 2px solid transparent; border-radius: .5rem; padding: .2rem;
  background: var(--background-fill-secondary); color: var(--body-text-color); text-align: left;
  cursor: pointer; min-width: 0; font: inherit; }
.tile img { width: 100%; aspect-ratio: 1; object-fit: cover; border-radius: .35rem; margin: 0; }
.tile span { display: block; font-size: .78rem; overflow: hidden; text-overflow: ellipsis;
  white-space: nowrap; }
.tile .missing { color: #b45309; } .dark .tile .missing { color: #fbbf24; }
[aria-pressed="true"].tile, [aria-pressed="true"].card { border-color: var(--primary-700); }
.dark [aria-pressed="true"].tile, .dark [aria-pressed="true"].card {
  border-color: var(--primary-400); }
.tile:focus-visible, .cell:focus-visible, .card:focus-visible, .press:focus-visible,
.chip:focus-visible, a:focus-visible {
  outline: 3px solid var(--primary-500); outline-offset: 1px; }
.large { max-width: 100%; max-height: 380px; display: block; margin: 0 auto; border-radius: .5rem; }
.findings { margin: .25rem 0 0; padding: 0; list-style: none; }
.findings li { margin: .25rem 0; } .findings b { margin-right: .35rem; }
.scroll { overflow-x: auto; } .tall { max-height: 24rem; overflow-y: auto; }
.samples, .samples tr, .samples th, .samples td { border: 0 !important; }
.samples { border-collapse: collapse; }
.samples th { font-size: .78rem; font-weight: 600; padding: .2rem; text-align: left;
  color: var(--body-text-color); max-width: 150px; overflow-wrap: anywhere; }
.samples th[scope="row"] { vertical-align: middle; white-space: nowrap; }
.samples td { padding: .2rem; }
.cell img { width: 128px; height: 128px; object-fit: contain; margin: 0; border-radius: .35rem; }
.cards { display: grid; gap: .6rem; grid-template-columns: repeat(auto-fill, minmax(250px, 1fr)); }
.card { padding: .6rem; } .card .pair { display: flex; gap: .3rem; min-height: 96px; }
.card img { width: 96px; height: 96px; object-fit: contain; margin: 0; border-radius: .35rem; }
.card b, .card span { display: block; overflow-wrap: anywhere; }
.facts { display: grid; grid-template-columns: max-content 1fr; gap: .1rem .8rem; margin: 0; }
.facts dt { color: var(--body-text-color-subdued); } .facts dd { margin: 0; }
.facts dd { overflow-wrap: anywhere; }
.facts-in-a-row { display: flex; flex-wrap: wrap; gap: .1rem 1.5rem; }
.facts-in-a-row div { display: flex; gap: .5rem; }
.with-button { align-items: flex-end; } .with-button > button { margin-bottom: 10px; }
.plain { border-collapse: collapse; width: 100%; font-size: .85rem; }
.plain, .plain tr, .plain th, .plain td { border: 0 !important; color: var(--body-text-color); }
.plain th, .plain td { text-align: left; padding: .2rem .6rem .2rem 0 !important;
  vertical-align: top; overflow-wrap: anywhere; }
.header th[scope="row"] { font-family: monospace; font-weight: 400; min-width: 11rem; }
.memory { max-width: 640px; } .memory td, .memory th[scope="col"] { white-space: nowrap; }
.memory td:last-child { width: 45%; min-width: 90px; }
.fill.over { background: #b91c1c; } .dark .fill.over { background: #b91c1c; }
.changes { list-style: none; padding: 0; margin: 0; }
.changes li { display: flex; flex-wrap: wrap; gap: .5rem; align-items: center; margin: .3rem 0; }
.press { font: inherit; font-size: .85rem; padding: .25rem .7rem; border-radius: .5rem;
  cursor: pointer; border: 1px solid var(--primary-700); background: var(--primary-700);
  color: white; }
.press:hover { background: var(--primary-800); }
.press-second { background: transparent; color: var(--body-text-color); }
.press-second:hover { background: var(--background-fill-secondary); }
.dark .press-second { border-color: var(--primary-400); }
#dataset-train { gap: .25rem; } #captions-row { gap: .5rem; }
#captions-progress [data-state] { min-height: 5.4rem; }
.sign { display: inline-block; width: 1.2rem; font-weight: 700; }
.findings ul { margin: 0 0 0 1.7rem; font-size: .85rem; }
.verdict-good .sign { color: #15803d; } .dark .verdict-good .sign { color: #4ade80; }
.verdict-warning .sign { color: #b45309; } .dark .verdict-warning .sign { color: #fbbf24; }
.verdict-error .sign { color: #b91c1c; } .dark .verdict-error .sign { color: #f87171; }
.pictures { display: flex; flex-wrap: wrap; gap: 1rem; }
.pictures figure { margin: 0; flex: 1 1 240px; max-width: 400px; }
.pictures img { width: 100%; margin: 0; border-radius: .5rem; image-rendering: auto; }
.download { display: inline-block; margin: 0 .5rem .5rem 0; padding: .5rem 1rem;
  border-radius: .5rem; background: var(--primary-700);
  color: white !important; text-decoration: none; }
#workbench .row:not(:has(.block)):not(:has(button)) { display: none; }
#workbench .plain th[scope="row"] { font-weight: 400; min-width: 9rem; }
#workbench .plain td, #workbench .plain th[scope="col"] { overflow-wrap: normal; }
.chips { display: flex; flex-wrap: wrap; gap: .35rem; list-style: none; padding: 0; margin: 0; }
.chips li { margin: 0; }
.chip { font: inherit; font-size: .82rem; padding: .15rem .6rem; border-radius: 1rem;
  max-width: 100%; overflow-wrap: anywhere; text-align: left; display: inline-block;
  border: 1px solid var(--border-color-primary); background: var(--background-fill-secondary);
  color: var(--body-text-color); }
button.chip { cursor: pointer; } button.chip:hover { border-color: var(--primary-500); }
.chip b { margin-left: .15rem; }
dialog.enlarged { border: 0; border-radius: .5rem; padding: .75rem; max-width: 92vw; }
dialog.enlarged img { display: block; margin: 0 auto; max-height: 78vh; min-width: min(70vw, 512px);
  object-fit: contain; }
@media (prefers-reduced-motion: reduce) { .fill { transition: none; } }
"""
