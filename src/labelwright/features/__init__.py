"""Items as vectors, and vectors as out-of-sample predictions and neighbours."""

from labelwright.features.calibration import calibrate
from labelwright.features.encoders import Encoder, available_encoders, encoded, load_encoder
from labelwright.features.items import ItemVectors, item_vectors
from labelwright.features.neighbours import Neighbours, nearest_neighbours
from labelwright.features.pred_probs import out_of_fold, out_of_fold_multilabel
from labelwright.features.vectors import dense_text_vectors, image_vectors, table_vectors, text_vectors

__all__ = [
    "Encoder",
    "ItemVectors",
    "Neighbours",
    "available_encoders",
    "calibrate",
    "dense_text_vectors",
    "encoded",
    "image_vectors",
    "item_vectors",
    "load_encoder",
    "nearest_neighbours",
    "out_of_fold",
    "out_of_fold_multilabel",
    "table_vectors",
    "text_vectors",
]
