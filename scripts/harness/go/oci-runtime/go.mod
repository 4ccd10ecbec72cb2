module harness/oci-runtime

go 1.26
