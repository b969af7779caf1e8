"""Captioners with a few thousand random weights, in folders as the hub has them."""

import json

WORDS = ["a", "red", "blue", "cat", "dog", "ball", "house", "tree"]
WORDS += ["sits", "on", "the", "mat", "and", "picture", "describe", "user"]


def build_blip(folder, *, seed=0):
    """Writes a BLIP for captions, as Salesforce/blip-image-captioning-large is laid out."""
    import torch
    from transformers import BertTokenizer, BlipConfig, BlipForConditionalGeneration

    folder.mkdir(parents=True)
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    BertTokenizer(str(folder / "vocab.txt"), model_max_length=64).save_pretrained(folder)
    text = {
        "vocab_size": len(vocabulary) + 2,  # two marks that the tokenizer does not know
        "hidden_size": 32,
        "encoder_hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 64,
        "initializer_range": 0.5,
        "bos_token_id": len(vocabulary),
        "pad_token_id": 0,
        "eos_token_id": 3,
        "sep_token_id": 3,
    }
    vision = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 32,
        "patch_size": 16,
        "initializer_range": 0.5,
    }
    torch.manual_seed(seed)
    config = BlipConfig(text_config=text, vision_config=vision, projection_dim=16)
    BlipForConditionalGeneration(config).save_pretrained(folder)
    write_preprocessor(folder, "BlipImageProcessor", "BlipProcessor", 32)
    return folder


def build_florence2(folder, *, seed=0):
    """Writes a Florence-2, as florence-community/Florence-2-base is laid out."""
    import torch
    from transformers import Florence2Config, Florence2ForConditionalGeneration

    tokens = ["<s>", "<pad>", "</s>", "<unk>", *WORDS, "what", "is", "shown", "in", "<image>"]
    tokenizer = make_tokenizer(
        tokens,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        extra_special_tokens={"image_token": "<image>"},
    )
    text = {
        "model_type": "bart",
        "vocab_size": len(tokens),
        "d_model": 32,
        "encoder_layers": 1,
        "decoder_layers": 1,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 64,
        "decoder_ffn_dim": 64,
        "max_position_embeddings": 512,
        "init_std": 0.5,
        "bos_token_id": 0,
        "pad_token_id": 1,
        "eos_token_id": 2,
        "decoder_start_token_id": 2,
        "forced_eos_token_id": 2,
    }
    vision = {
        "depths": (1, 1),
        "embed_dim": (16, 32),
        "num_heads": (2, 2),
        "num_groups": (2, 2),
        "patch_size": (7, 3),
        "patch_stride": (4, 2),
        "patch_padding": (3, 1),
        "patch_prenorm": (False, True),
        "window_size": 4,
        "projection_dim": 32,
        "max_temporal_embeddings": 10,
        "max_position_embeddings": 10,
        "drop_path_rate": 0.0,
    }
    torch.manual_seed(seed)
    config = Florence2Config(
        text_config=text, vision_config=vision, image_token_id=tokens.index("<image>")
    )
    Florence2ForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    # 64 / 4 / 2 = 8 patches a side, and their mean.
    write_preprocessor(
        folder,
        "CLIPImageProcessor",
        "Florence2Processor",
        64,
        image_seq_length=65,
        do_center_crop=False,
    )
    settings = {"processor_class": "Florence2Processor", "num_additional_image_tokens": 0}
    (folder / "processor_config.json").write_text(json.dumps(settings))
    return folder


CHAT = (
    "{% for message in messages %}<|im_start|>{{ message.role }} {% for part in message.content %}"
    "{% if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ part.text }}{% endif %}{% endfor %}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant {% endif %}"
)


def build_qwen(folder, *, seed=1):
    """Writes a Qwen3-VL, as Qwen/Qwen3-VL-2B-Instruct is laid out."""
    import torch
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

    marks = ["<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>"]
    marks += ["<|image_pad|>", "<|video_pad|>"]
    tokens = ["<unk>", "<|endoftext|>", *marks, *WORDS]
    tokenizer = make_tokenizer(tokens, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    tokenizer.add_special_tokens({"additional_special_tokens": marks})
    text = {
        "vocab_size": len(tokens),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "initializer_range": 0.3,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 10000.0,
            "mrope_section": [4, 2, 2],
            "mrope_interleaved": True,
        },
        "eos_token_id": 3,
        "pad_token_id": 1,
    }
    vision = {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_heads": 2,
        "out_hidden_size": 32,
        "patch_size": 8,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "num_position_embeddings": 16,
        "deepstack_visual_indexes": [0],
        "initializer_range": 0.3,
    }
    torch.manual_seed(seed)
    config = Qwen3VLConfig(
        text_config=text,
        vision_config=vision,
        tie_word_embeddings=True,
        vision_start_token_id=tokens.index("<|vision_start|>"),
        vision_end_token_id=tokens.index("<|vision_end|>"),
        image_token_id=tokens.index("<|image_pad|>"),
        video_token_id=tokens.index("<|video_pad|>"),
    )
    model = Qwen3VLForConditionalGeneration(config)
    # As the hub's: on its own it would answer by chance.
    model.generation_config.update(do_sample=True, temperature=0.7, top_k=20, top_p=0.8)
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": CHAT}))
    preprocessor = {
        "size": {"longest_edge": 64 * 64, "shortest_edge": 16 * 16},
        "patch_size": 8,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "processor_class": "Qwen3VLProcessor",
        "image_processor_type": "Qwen2VLImageProcessorFast",
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    return folder


def build_idefics(folder, *, seed=0):
    """Writes an Idefics3, as HuggingFaceTB/SmolVLM-Instruct is laid out."""
    import torch
    from transformers import Idefics3Config, Idefics3ForConditionalGeneration

    marks = ["<fake_token_around_image>", "<image>", "<end_of_utterance>", "<global-img>"]
    tokens = ["<unk>", "<|im_start|>", "<|im_end|>", *marks, *WORDS]
    tokenizer = make_tokenizer(tokens, eos_token="<|im_end|>", pad_token="<|im_end|>")
    tokenizer.add_special_tokens({"additional_special_tokens": marks})
    text = {
        "model_type": "llama",
        "vocab_size": len(tokens),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "initializer_range": 0.8,
        "eos_token_id": 2,
        "pad_token_id": 2,
    }
    vision = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 32,
        "patch_size": 8,
        "initializer_range": 0.3,
    }
    torch.manual_seed(seed)
    config = Idefics3Config(
        text_config=text,
        vision_config=vision,
        scale_factor=2,
        image_token_id=tokens.index("<image>"),
        pad_token_id=2,
    )
    Idefics3ForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.chat_template = (
        "<|im_start|>{% for message in messages %}{{ message.role }}: {% for part in "
        "message.content %}{% if part.type == 'image' %}<image>{% else %}{{ part.text }}{% endif %}"
        "{% endfor %}<end_of_utterance>{% endfor %}{% if add_generation_prompt %} a{% endif %}"
    )
    tokenizer.save_pretrained(folder)
    preprocessor = {
        "image_processor_type": "Idefics3ImageProcessor",
        "processor_class": "Idefics3Processor",
        "do_image_splitting": False,
        "size": {"longest_edge": 32},
        "max_image_size": {"longest_edge": 32},
        "do_pad": True,
        "do_resize": True,
        "do_rescale": True,
        "do_normalize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    settings = {"processor_class": "Idefics3Processor", "image_seq_len": 4}
    (folder / "processor_config.json").write_text(json.dumps(settings))
    return folder


# name, category, then how much blue, green and red speak for it: what comes in is BGR.
TAGS = [
    ("general", 9, (0, 0, 0)),
    ("explicit", 9, (9, 9, 9)),
    ("blue_theme", 0, (9, -9, -9)),
    ("red_theme", 0, (-9, -9, 9)),
    ("1girl", 0, (-4, -4, 4.6)),
    ("^_^", 0, (-4, -4, 4.8)),
    ("tom_(cat)", 4, (-9, -9, 4)),
    ("anna_(red)", 4, (-9, -9, 8.5)),
]


def build_tagger(folder, *, side=16, tags=TAGS):
    """Writes a tagger, as SmilingWolf/wd-vit-tagger-v3 is laid out: it looks at the mean colour."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    folder.mkdir(parents=True)
    rows = [f"{n},{name},{category},99" for n, (name, category, _) in enumerate(tags)]
    (folder / "selected_tags.csv").write_text("\n".join(["tag_id,name,category,count", *rows]))
    weights = np.array([weights for *_, weights in tags], np.float32).T / 255  # [3, tags]
    nodes = [
        helper.make_node("ReduceMean", ["input"], ["mean"], axes=[1, 2], keepdims=0),
        helper.make_node("MatMul", ["mean", "weights"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["output"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tagger",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", side, side, 3])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", len(tags)])],
        [numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, str(folder / "model.onnx"))
    return folder


def make_tokenizer(tokens, **marks):
    """Returns a tokenizer of whole words."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = models.WordLevel({token: n for n, token in enumerate(tokens)}, unk_token="<unk>")
    tokenizer = Tokenizer(words)
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", **marks)


def write_preprocessor(folder, kind, processor, side, **more):
    """Writes how pictures are prepared, as old repositories say it."""
    settings = {
        "image_processor_type": kind,
        "processor_class": processor,
        "size": {"height": side, "width": side},
        "crop_size": {"height": side, "width": side},
        "do_resize": True,
        "do_rescale": True,
        "do_normalize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "resample": 3,
        **more,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
