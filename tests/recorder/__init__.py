"""The recorder: what a training logs is in its spool; whatever happens, the training goes on."""
