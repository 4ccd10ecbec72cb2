{{/*
NetworkPolicies: who may reach what. They add up, so that each is about one thing, and what none of them allows is refused.

  include "ray-cluster.networkPolicyMetadata" (dict "ctx" $ "topic" "metrics")
  include "ray-cluster.admission" (dict "ctx" $ "topic" "metrics" "selector" $labels "ports" (dict "metrics" 8080))
  include "ray-cluster.releasePeer" $                                            the release's own pods, as a list of one peer
  include "ray-cluster.egressRules" $, "ray-cluster.redisRule" $                 what is open of closed egress, as lists of rules

  include "ray-cluster.shutOut" $                                                advice, one line for each way in that leads nowhere

"selector" is YAML; "topic" is a key of `networkPolicy`, and the name of the policy; "ports" are a map from names to numbers, by
default the topic among `ports`. The policy has numbers, since not every network knows the names. An empty list of peers is never
rendered: Kubernetes reads it as everybody.
*/}}

{{- define "ray-cluster.networkPolicyMetadata" -}}
{{- $own := pick .ctx.Values.networkPolicy "labels" "annotations" -}}
{{- include "ray-cluster.metadata" (merge $own (dict "ctx" .ctx "component" "network" "name" (include "ray-cluster.networkName" .))) -}}
{{- end -}}

{{/* A policy that lets those in who are listed under its topic. */}}
{{- define "ray-cluster.admission" -}}
{{- with (get .ctx.Values.networkPolicy .topic).from -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  {{- include "ray-cluster.networkPolicyMetadata" $ | nindent 2 }}
spec:
  podSelector:
    matchLabels:
      {{- $.selector | nindent 6 }}
  policyTypes:
    - Ingress
  ingress:
    - from:
        {{- toYaml . | nindent 8 }}
      ports:
        {{- range default (pick $.ctx.Values.ports $.topic) $.ports }}
        - protocol: TCP
          port: {{ . }}
        {{- end }}
{{- end -}}
{{- end -}}

{{/* Another release of the namespace has another instance label. */}}
{{- define "ray-cluster.releasePeer" -}}
- podSelector:
    matchLabels:
      {{- include "ray-cluster.releaseSelectorLabels" . | nindent 6 }}
{{- end -}}

{{- define "ray-cluster.egressRules" -}}
- to:
    {{- include "ray-cluster.releasePeer" . | nindent 4 }}
{{- with .Values.networkPolicy.egress }}
{{- with .dns }}
- to:
    {{- toYaml . | nindent 4 }}
  ports:
    - protocol: UDP
      port: 53
    # For answers that are too long for a datagram.
    - protocol: TCP
      port: 53
{{- end }}
{{- with .to }}
{{ toYaml . }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "ray-cluster.redisRule" -}}
{{- with .Values.networkPolicy.egress.redis -}}
- to:
    {{- toYaml . | nindent 4 }}
  ports:
    - protocol: TCP
      port: {{ $.Values.gcsFaultTolerance.redis.address | splitList ":" | last }}
{{- end -}}
{{- end -}}

{{- define "ray-cluster.shutOut" -}}
{{- $external := .Values.head.externalService -}}
{{- $offered := ternary $external.ports list $external.enabled -}}
{{- range $topic := list "dashboard" "client" "serve" "metrics" -}}
{{- $ways := list -}}
{{- $routes := default dict (get $.Values $topic) -}}
{{- range $kind, $title := dict "ingress" "Ingress" "httpRoute" "HTTPRoute" -}}
{{- if dig $kind "enabled" false $routes -}}
{{- $ways = append $ways $title -}}
{{- end -}}
{{- end -}}
{{- if has $topic $offered -}}
{{- $ways = append $ways (printf "%s Service" $external.type) -}}
{{- end -}}
{{- if and (eq $topic "serve") $.Values.serve.enabled (ne $.Values.serve.service.type "ClusterIP") -}}
{{- $ways = append $ways (printf "%s Service" $.Values.serve.service.type) -}}
{{- end -}}
{{- if and (eq $topic "metrics") (not $.Values.networkPolicy.extraIngress) -}}
{{- range $key, $title := dict "claim" "targets' claim" "podMonitor" "PodMonitor" "serviceMonitor" "ServiceMonitor" -}}
{{- if (get $.Values.monitoring $key).enabled -}}
{{- $ways = append $ways $title -}}
{{- end -}}
{{- end -}}
{{- range include "ray-cluster.demandGroups" $ | fromJson -}}
{{- if .autoscaling.keda.enabled -}}
{{- $ways = append $ways "KEDA trigger" | uniq -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and $ways (not (get $.Values.networkPolicy $topic).from) }}
{{ printf "NOBODY gets through the %s to %s: networkPolicy.%s.from is empty." (join " and the " $ways) (get (dict "dashboard" "the dashboard" "client" "Ray client" "serve" "Ray Serve" "metrics" "the metrics") $topic) $topic }}
{{- end -}}
{{- end -}}
{{- $machines := list -}}
{{- if .Values.head.hostNetwork -}}
{{- $machines = append $machines "head" -}}
{{- end -}}
{{- range $name, $group := include "ray-cluster.workerGroups" . | fromJson -}}
{{- if $group.hostNetwork -}}
{{- $machines = append $machines $name -}}
{{- end -}}
{{- end -}}
{{- if and $machines (not .Values.networkPolicy.extraIngress) }}
{{ printf "%s on the machines' network NEVER reach the other pods: networkPolicy.extraIngress does not let the machines in." (join ", " $machines) }}
{{- end -}}
{{- end -}}
