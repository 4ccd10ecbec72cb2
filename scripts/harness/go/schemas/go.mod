// Nothing is built from these: harness/schemas.py reads their API specifications and CRDs.
module harness/schemas

go 1.26.0

require (
	github.com/argoproj/argo-cd/v3 v3.1.0
	github.com/fluxcd/helm-controller v1.4.3
	github.com/fluxcd/source-controller v1.8.0
	github.com/kedacore/keda/v2 v2.21.0
	github.com/prometheus-operator/prometheus-operator v0.85.0
	k8s.io/kubernetes v1.31.14
	sigs.k8s.io/gateway-api v1.6.0
)
