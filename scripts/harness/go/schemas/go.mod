// Nothing is built from these: harness/schemas.py reads their API specifications and CRDs.
module harness/schemas

go 1.26.0

require (
	github.com/kedacore/keda/v2 v2.21.0
	github.com/prometheus-operator/prometheus-operator v0.85.0
	k8s.io/kubernetes v1.31.14
	sigs.k8s.io/gateway-api v1.6.0
)
