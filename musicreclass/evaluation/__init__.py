"""Numbers from predictions: metrics, intervals, paired tests. Reads prediction tables; knows no model and no dataset."""
