"""WHAT HAPPENS TO THE MESSAGE: control fields, CSS, images, links, opens, envelope, signature; the milter."""
