"""From datasets to tensors: sources, files, decoding, classes, captions, text encoders, conditions, augmentation."""
