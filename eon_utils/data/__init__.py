"""Sources of clips and pictures: data sets, your own files, public sets."""
