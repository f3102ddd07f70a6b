"""Where candidates come from: the collections that packages bring, and folders of a person's own images."""
