{{/*
Ways in from outside: the same two for the dashboard and for Ray Serve.

  include "ray-cluster.ingress" $route
  include "ray-cluster.httpRoute" $route

  include "ray-cluster.routeHosts" .Values.dashboard                             addresses, with spaces in between

  $route := dict "ctx" $ "component" "head" "name" $name "port" "dashboard" "values" .Values.dashboard.ingress

"name" is both the object's and its Service's; "port" is one of `ports`, and the name of the Service's port.
*/}}

{{- define "ray-cluster.ingress" -}}
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  {{- include "ray-cluster.metadata" (merge (pick .values "labels" "annotations") .) | nindent 2 }}
spec:
  {{- with .values.className }}
  ingressClassName: {{ . | quote }}
  {{- end }}
  {{- with .values.tls }}
  tls:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  rules:
    {{- range .values.hosts }}
    - host: {{ .host | quote }}
      http:
        paths:
          {{- range default (list (dict "path" "/")) .paths }}
          - path: {{ .path | quote }}
            pathType: {{ default "Prefix" .pathType }}
            backend:
              service:
                name: {{ $.name }}
                port:
                  name: {{ $.port }}
          {{- end }}
    {{- end }}
{{- end -}}

{{- define "ray-cluster.httpRoute" -}}
{{- $backends := list (dict "name" .name "port" (int (get .ctx.Values.ports .port))) -}}
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  {{- include "ray-cluster.metadata" (merge (pick .values "labels" "annotations") .) | nindent 2 }}
spec:
  parentRefs:
    {{- toYaml .values.parentRefs | nindent 4 }}
  {{- with .values.hostnames }}
  hostnames:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  rules:
    {{- range default (list dict) .values.rules }}
    {{- $rule := merge (dict "backendRefs" $backends) . }}
    {{- /* A rule that redirects has nothing behind it, and the Gateway API refuses it otherwise. */}}
    {{- range .filters }}
    {{- if eq .type "RequestRedirect" }}
    {{- $rule = omit $rule "backendRefs" }}
    {{- end }}
    {{- end }}
    {{- list $rule | toYaml | nindent 4 }}
    {{- end }}
{{- end -}}

{{/* The addresses at which something can be reached from outside, for people. */}}
{{- define "ray-cluster.routeHosts" -}}
{{- if .ingress.enabled -}}
{{- range .ingress.hosts -}}
{{ printf "%s://%s " (empty $.ingress.tls | ternary "http" "https") .host }}
{{- end -}}
{{- end -}}
{{- if .httpRoute.enabled -}}
{{- range default (list "<gateway>") .httpRoute.hostnames -}}
{{ printf "http://%s " . }}
{{- end -}}
{{- end -}}
{{- end -}}
