"""The three training stages: encoder, quantizer, decoder, and the data they share."""
