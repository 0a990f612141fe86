"""Tiny trainings with TRL's trainers; prints what came of each that the command line names."""

from __future__ import annotations

import json
import sys
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

from tunelog.integrations.transformers import TunelogCallback

WORDS = [
    *("<pad>", "<end>", "<unknown>", "user", "assistant"),
    *("what", "is", "one", "two", "three", "the", "sum"),
]
CHAT = "{% for m in messages %}{{ m['role'] + ' ' + m['content'] + ' <end> ' }}{% endfor %}"
QUIET = {
    "per_device_train_batch_size": 2,
    "logging_steps": 2,
    "save_strategy": "no",
    "report_to": "none",
    "disable_tqdm": True,
    "use_cpu": True,
    "bf16": False,
}


def tokenizer() -> Any:
    made = Tokenizer(
        models.WordLevel({word: number for number, word in enumerate(WORDS)}, "<unknown>")
    )
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        pad_token="<pad>",
        eos_token="<end>",
        unk_token="<unknown>",
        chat_template=CHAT,
    )


def model() -> Any:
    torch.manual_seed(0)
    size = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1}
    ends = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": None}
    return LlamaForCausalLM(LlamaConfig(vocab_size=len(WORDS), **size, **heads, **ends))


def said(role: str, words: str) -> dict[str, str]:
    return {"role": role, "content": words}


def result(trained: Any, callback: Any) -> dict[str, Any]:
    return {"job": callback.recorder.id, "history": trained.state.log_history}


def sft() -> dict[str, Any]:
    """A chat, an adapter, an evaluation."""
    chat = [said("user", "what is the sum"), said("assistant", "the sum is three")]
    data = Dataset.from_list([{"messages": chat}] * 8)
    callback = TunelogCallback(name="chat")
    trained = SFTTrainer(
        model=model(),
        args=SFTConfig("sft", max_steps=5, max_length=16, eval_strategy="epoch", **QUIET),
        train_dataset=data,
        eval_dataset={"one": data.select(range(2)), "two": data.select(range(4))},
        processing_class=tokenizer(),
        peft_config=LoraConfig(r=2, lora_alpha=4, target_modules=["q_proj", "v_proj"]),
        callbacks=[callback],
    )
    trained.train()
    return result(trained, callback)


def dpo() -> dict[str, Any]:
    pair = {"prompt": "what is one", "chosen": " one is one", "rejected": " one is two"}
    callback = TunelogCallback()
    trained = DPOTrainer(
        model=model(),
        ref_model=model(),
        args=DPOConfig("dpo", max_steps=4, beta=0.2, **QUIET),
        train_dataset=Dataset.from_list([pair] * 8),
        processing_class=tokenizer(),
        callbacks=[callback],
    )
    trained.train()
    return result(trained, callback)


if __name__ == "__main__":
    print(json.dumps({name: globals()[name]() for name in sys.argv[1:]}))
