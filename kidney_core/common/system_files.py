"""Files and folders that operating systems and network storage leave among images, in small letters."""

FOLDERS = (
    "@eadir",
    "#recycle",
    "@recycle",
    "@recently-snapshot",
    "__macosx",
    "$recycle.bin",
    "system volume information",
    "lost+found",
)
FILES = ("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r")
