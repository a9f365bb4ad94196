"""From datasets to tensors: sources, decoding, classes, captions, text encoders, conditions, augmentation."""
