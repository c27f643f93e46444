//! Nothing: the library that libFuzzer is built as is what is wanted.
