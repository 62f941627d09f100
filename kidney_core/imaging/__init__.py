"""Files from outside -> slices and stacks: sandboxed decoders, DICOM, raster images, framing.

May import: common.
"""
