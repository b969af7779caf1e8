"""Folders of images for training: reading, checking, captioning, sizing. No training, no GUI.

What lives here:

* ``images``: reading one image safely, thumbnails, taking an uploaded image into a folder.
* ``examples``: scanning a folder into examples and findings.
* ``captions``: reading and writing captions, trigger words, tags, the trash with its undo.
* ``buckets`` and ``crop``: which size an image is trained at and how it is cut to it.
* ``checks``: the dataset check in plain language.
* ``telemetry``: what keeps libraries from calling home.
* ``files``: writing aside and renaming; ``errors``: the one exception that users see.

Words: an *example* is one image with its caption; a *caption* is the text in the ``.txt`` file
beside the image; the *trigger* is the word that calls the adapter; a *bucket* is a size that
batches share; a *finding* is one line of the dataset check. This package needs Pillow and nothing
else; torch is allowed only inside ``captioners``.
"""

from datasets_tools.telemetry import switch_off_telemetry

# Every process of ours imports this package, before the libraries that would call home.
switch_off_telemetry()
