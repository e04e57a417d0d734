"""The trainer of sentence-transformers on our feed: its arguments, its losses, and a position beside each checkpoint."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.sentence_transformer.losses import (
    CachedMultipleNegativesRankingLoss,
    CoSENTLoss,
    MultipleNegativesRankingLoss,
)
from sentence_transformers.sentence_transformer.modules import Pooling
from torch.utils.data import DataLoader
from transformers import PrinterCallback, TrainerCallback, TrainerState, set_seed
from transformers.trainer import TRAINER_STATE_NAME
from transformers.utils import logging as transformers_logging

from pipeline.errors import SourceError
from pipeline.folder import readable_json
from pipeline.manifest.settings import TrainConfig
from pipeline.store import write_durably
from pipeline.train.feed import Feed

#: Written last into a checkpoint, so that one cut short by a kill is not taken up.
POSITION = "position.json"
#: Up to so many parameters this learning rate: what uniem's FineTuner suggests (uniem/finetuner.py, suggest_lr).
LEARNING_RATES = ((80_000_000, 1e-4), (200_000_000, 5e-5), (float("inf"), 8e-6))


def load_model(folder: Path, told: str, config: TrainConfig) -> SentenceTransformer:
    """From safetensors on this machine, in float32; a bare transformer gets mean pooling, as M3E has. No foreign code is run."""
    transformers_logging.disable_progress_bar()
    # Weights that a model lacks (a pooler that nothing uses) are drawn: always the same ones.
    set_seed(config.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    weights = {"dtype": torch.float32, "use_safetensors": True}
    try:
        model = SentenceTransformer(
            str(folder), device=device, model_kwargs=weights, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:
        # Loaders raise whatever their parts raise.
        cause = f"{folder} cannot be loaded ({type(error).__name__}: {str(error).splitlines()[0][:200]})"
        cure = "it must be a sentence-transformers or transformers model that runs without code of its own"
        raise SourceError(f"--model {told}", cause, cure) from None
    model.max_seq_length = min(model.max_seq_length or config.max_tokens, config.max_tokens)
    if any(isinstance(module, Pooling) for module in model):
        # BERT's own pooler is asked by nobody then; several processes would wait for its gradients.
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(".pooler." not in name)
    return model


def learning_rate(model: torch.nn.Module, config: TrainConfig) -> float:
    """The one that was asked for, else by the number of parameters."""
    size = sum(weights.numel() for weights in model.parameters())
    return config.lr or next(lr for most, lr in LEARNING_RATES if size <= most)


def loss_of(model: SentenceTransformer, config: TrainConfig, world: int) -> torch.nn.Module:
    """M3E's softmax over the batch (scale = 1 / temperature) or CoSENT; with `mini_batch` the cached form of the former.

    With several processes the texts of all of them are candidates: the batch is the one the mixer made.
    """
    scale = 1 / config.temperature
    if config.recipe == "cosent":
        loss: torch.nn.Module = CoSENTLoss(model, scale=scale)
    elif config.mini_batch is not None:
        loss = CachedMultipleNegativesRankingLoss(
            model, scale=scale, mini_batch_size=config.mini_batch, gather_across_devices=world > 1
        )
    else:
        loss = MultipleNegativesRankingLoss(model, scale=scale, gather_across_devices=world > 1)
    return loss


def arguments(out: Path, model: torch.nn.Module, config: TrainConfig, steps: int) -> Any:
    """The arguments of the trainer. AdamW, warm-up, then a cosine down to nothing: as uniem's train_m3e.py."""
    cuda = torch.cuda.is_available()
    told = SentenceTransformerTrainingArguments(
        output_dir=str(out),
        max_steps=steps,
        per_device_train_batch_size=config.mix.batch,  # told in logs only: the feed makes the batches
        learning_rate=learning_rate(model, config),
        weight_decay=config.weight_decay,
        lr_scheduler_type="cosine",
        warmup_steps=round(config.warmup * steps),
        bf16=cuda and torch.cuda.is_bf16_supported(),
        use_cpu=not cuda,
        seed=config.seed,
        logging_strategy="steps",
        logging_steps=min(config.log_every, steps),
        save_strategy="steps",
        save_steps=config.save_every,
        save_total_limit=config.keep,
        ignore_data_skip=True,  # the feed goes on where it stood
        ddp_find_unused_parameters=False,
        disable_tqdm=True,
        report_to="none",
    )
    # Several GPUs are for several processes (`accelerate launch`): the threads of DataParallel cannot share a batch's loss.
    told._n_gpu = min(told.n_gpu, 1)
    return told


class Trainer(SentenceTransformerTrainer):
    """The trainer, fed with our batches. `listen` hears (step, steps, loss) at every point of the curve."""

    def __init__(self, feed: Callable[[Any], Feed], listen: Callable[[int, int, float], None], **told: Any) -> None:
        super().__init__(**told)
        self.feed = feed(self.data_collator)
        self.remove_callback(PrinterCallback)
        self.add_callback(_Listener(listen))

    def get_train_dataloader(self) -> Any:
        # A generator of its own: the loader draws a number, and would shift the drop-out of a run that is taken up again.
        own, pinned = torch.Generator(), torch.cuda.is_available()
        return DataLoader(self.feed, batch_size=None, collate_fn=_as_it_is, pin_memory=pinned, generator=own)

    def add_model_card_callback(self, _: dict[str, Any]) -> None:
        """None: the card is ours, and theirs looks at a data set that is not there."""

    def run(self, checkpoint: Path | None) -> None:
        """Train to the last step, from a checkpoint where there is one; nothing is left to do behind the last step's."""
        if checkpoint is None:
            self.train()
            return
        self.feed.resume(json.loads((checkpoint / POSITION).read_bytes()))
        if step_of(checkpoint) < self.args.max_steps:
            self.train(resume_from_checkpoint=str(checkpoint))
            return
        self._load_from_checkpoint(str(checkpoint))
        self.state = TrainerState.load_from_json(str(checkpoint / TRAINER_STATE_NAME))

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        del state_dict
        self.model.save_pretrained(str(output_dir or self.args.output_dir), create_model_card=False)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        position = self.feed.position
        super()._save_checkpoint(model, trial)
        if self.args.should_save:
            place = Path(str(self.args.output_dir)) / f"checkpoint-{self.state.global_step}" / POSITION
            write_durably(place, readable_json(position))


def checkpoint_of(out: Path) -> Path | None:
    """The last whole checkpoint of a run."""
    whole = [path.parent for path in out.glob(f"checkpoint-*/{POSITION}")]
    return max(whole, key=step_of, default=None)


def step_of(checkpoint: Path) -> int:
    """The step a checkpoint was written behind.

    >>> step_of(Path("checkpoint-40"))
    40
    """
    return int(checkpoint.name.rpartition("-")[2])


def _as_it_is(batch: Any) -> Any:
    return batch


class _Listener(TrainerCallback):
    def __init__(self, listen: Callable[[int, int, float], None]) -> None:
        self._listen = listen

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        del args, control
        if logs and "loss" in logs and state.is_world_process_zero:
            self._listen(state.global_step, state.max_steps, float(logs["loss"]))
