//! Agreement with PyTorch: operators, initialisation, names, outputs and training of whole networks, against the
//! goldens that `scripts/goldens.py` makes. The goldens' tolerances come with them.

mod device;
mod golden;
mod init;
mod networks;
mod operators;
mod training;
mod zoo;
