//! Compiles the protos: messages, descriptor set, and the schema's static tables.

#[path = "build/options.rs"]
mod options;
#[path = "build/tables.rs"]
mod tables;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(env::var("OUT_DIR")?);
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=build");
    println!("cargo::rerun-if-changed=liandong");

    let mut files = Vec::new();
    find_protos(&root.join("liandong"), &mut files)?;
    files.sort();

    generate_messages(&root, &files)?;

    // Without comments and positions, so that the set changes only when the schema does.
    let mut compiler = protox::Compiler::new([&root])?;
    compiler.include_imports(true).open_files(&files)?;
    let descriptors = compiler.encode_file_descriptor_set();
    fs::write(out.join("descriptors.binpb"), &descriptors)?;
    fs::write(out.join("tables.rs"), tables::render(&compiler.descriptor_pool())?)?;
    Ok(())
}

fn find_protos(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            find_protos(&path, files)?;
        } else if path.extension().is_some_and(|ext| ext == "proto") {
            files.push(path);
        }
    }
    Ok(())
}

/// Writes one Rust file per package and `packages.rs`, the tree of modules over them. The options are for
/// the tables only, so their package is left out.
fn generate_messages(root: &Path, files: &[PathBuf]) -> Result<()> {
    let mut compiler = protox::Compiler::new([root])?;
    compiler.include_source_info(true).include_imports(true).open_files(files)?;
    let mut set = compiler.file_descriptor_set();
    set.file.retain(|file| !matches!(file.package(), "google.protobuf" | options::PACKAGE));
    let rpc = env::var_os("CARGO_FEATURE_RPC").is_some();
    tonic_prost_build::configure()
        .build_client(rpc)
        .build_server(rpc)
        .bytes(".")
        .include_file("packages.rs")
        .compile_fds(set)?;
    Ok(())
}
