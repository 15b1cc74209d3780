"""One contract for every model: fit on the training split, predict class probabilities, save, load.

Networks, scikit-learn estimators and XGBoost are used through `Classifier` alone. Optimisation of networks is in `training`.
"""
