"""Data sets that need a login or a request: the steps that a user takes with a browser."""

from __future__ import annotations

#: Data set without what follows an ``@`` -> its steps; ``{root}`` is the data root.
STEPS = {
    "fundus": (
        "Log in at https://www.kaggle.com/c/diabetic-retinopathy-detection and accept the rules of the competition.",
        "Download train.zip.001 to .005 and trainLabels.csv.zip; join and unpack them in {root}/eyepacs.",
        "For lesion masks, ask the authors of https://github.com/WeiQijie/retinal-lesions, and unpack their files in "
        "{root}/retinal-lesions.",
    ),
    "fundus-idrid": (
        "Log in at https://ieee-dataport.org/open-access/indian-diabetic-retinopathy-image-dataset-idrid.",
        "Download 'A. Segmentation.zip' and 'B. Disease Grading.zip' and unpack both in {root}/idrid.",
    ),
    "cxr": (
        "Log in at https://www.kaggle.com/c/rsna-pneumonia-detection-challenge and accept the rules of the challenge.",
        "Download stage_2_train_images, stage_2_train_labels.csv and stage_2_detailed_class_info.csv and unpack all in "
        "{root}/rsna.",
        "To check patients, add pneumonia-challenge-dataset-mappings_2018.json from https://www.rsna.org.",
    ),
    "oct": (
        "Download OCT2017.tar.gz from https://data.mendeley.com/datasets/rscbjbr9sj/3 (no login) and unpack it in "
        "{root}/oct2017.",
    ),
}
