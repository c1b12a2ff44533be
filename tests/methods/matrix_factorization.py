"""A method as a user would add it: matrix factorization with a stage that learns popularity first."""

import torch
from torch import nn
from torch.nn import functional as F

from recbole_clickprompt import register_method
from recbole_clickprompt.methods.base import Method
from recbole_clickprompt.methods.ctr_model import LabeledRowsModel
from recbole_clickprompt.trainer.optimizer import build_optimizer
from recbole_clickprompt.trainer.pretrained_checkpoint import load_components
from recbole_clickprompt.trainer.running_metrics import RunningMean


class Factors(LabeledRowsModel):
    """The logit is the inner product of a user's and an item's vector, plus the item's bias."""

    def __init__(self, config, dataset):
        super().__init__(config)
        self.user, self.item = config["USER_ID_FIELD"], config["ITEM_ID_FIELD"]
        self.users = nn.Embedding(dataset.num(self.user), config["embedding_size"])
        self.items = nn.Embedding(dataset.num(self.item), config["embedding_size"])
        self.bias = nn.Embedding(dataset.num(self.item), 1)
        self.metrics = {"popularity": RunningMean()}

    def forward(self, batch):
        product = self.users(batch[self.user]) * self.items(batch[self.item])
        return product.sum(1) + self.bias(batch[self.item]).squeeze(1)


class Popularity(Factors):
    """Learns the biases alone."""

    def calculate_loss(self, batch):
        logits = self.bias(batch[self.item]).squeeze(1)
        labels = batch[self.label_field].float()
        loss = F.binary_cross_entropy_with_logits(logits, labels)
        self.metrics["popularity"].add(loss, (logits > 0) == (labels > 0))
        return loss


class PopularityStage:
    name = "popularity"
    is_enabled = staticmethod(lambda config: config["pretrain_epochs"] > 0)
    label = staticmethod(lambda config: "popularity")
    reads_text = staticmethod(lambda config: False)
    training_rows = staticmethod(lambda config, train_data, valid_data: train_data._dataset)
    batch_size = staticmethod(lambda config: config["pretrain_batch_size"])
    epochs = staticmethod(lambda config: config["pretrain_epochs"])
    schedule = staticmethod(lambda config: ("constant", 0.0))
    build = staticmethod(Popularity)
    begin = staticmethod(lambda config, dataset, model, previous: None)
    selection_metric = staticmethod(lambda config, bigger: "popularity_accuracy" if bigger else "popularity_loss")

    def optimizer(self, config, model):
        return build_optimizer(model, learner="adam", learning_rate=0.1, plm_learning_rate=0, weight_decay=0)

    def evaluate(self, config, model, data):
        rows = data._dataset[torch.arange(len(data._dataset))]
        return {"popularity_loss": float(model.calculate_loss(rows).detach())}


class MatrixFactorization(Method):
    name = "Factors"
    stages = (PopularityStage(),)
    prediction_columns = {"logit": "inner product and bias"}

    def model_class(self):
        return Factors

    def begin_finetuning(self, config, model, *, start, **_):
        if start is not None:
            load_components(model, start, ("bias",))


register_method(MatrixFactorization())
