"""What every layer may use: files, plain values, paths, progress, threads, lazy sequences."""
