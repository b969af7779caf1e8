// Folders that are dropped on the box for uploads. Gradio keeps only the name of a file, so the
// folders are put into it, with a sign between them that no file system parts (FOLDER_SIGN in
// `app/dataset/images.py`).

const SIGN = '\u2215';
const BOX = '#dataset-upload';
const MOST_FILES = 20000;

const isHidden = (name) => name.startsWith('.') || name === '__MACOSX';

// The entries of a folder come in parts, until an empty one.
async function readFolder(reader) {
  const entries = [];
  for (;;) {
    const part = await new Promise((resolve, reject) => { reader.readEntries(resolve, reject); });
    if (!part.length) return entries;
    entries.push(...part);
  }
}

async function listFiles(entry, place, files) {
  if (isHidden(entry.name) || files.length >= MOST_FILES) return;
  const name = place ? `${place}${SIGN}${entry.name}` : entry.name;
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => { entry.file(resolve, reject); });
    files.push(new File([file], name, {type: file.type}));
  } else {
    for (const each of await readFolder(entry.createReader())) await listFiles(each, name, files);
  }
}

// Hands files to Gradio as if they had been chosen in its dialog.
function upload(files) {
  const input = document.querySelector(`${BOX} input[type=file]`);
  if (!input || !files.length) return;
  const chosen = new DataTransfer();
  for (const file of files) chosen.items.add(file);
  input.files = chosen.files;
  input.dispatchEvent(new Event('change', {bubbles: true}));
}

async function takeDrop(event) {
  if (!event.target.closest?.(BOX)) return;
  const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.());
  if (!entries.some((entry) => entry?.isDirectory)) return; // plain files are Gradio's own business
  event.preventDefault();
  event.stopPropagation();
  const files = [];
  for (const entry of entries) if (entry) await listFiles(entry, '', files);
  upload(files);
}

document.addEventListener('drop', takeDrop, true);
