package kubernetes

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// ScaledObject has the fields of KEDA's type that the chart uses, after keda.sh/docs/2.22/reference/scaledobject-spec; other
// fields are refused. KEDA's own module requires 300 others.
type ScaledObject struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		ScaleTargetRef struct {
			Name string `json:"name"`
		} `json:"scaleTargetRef"`
		MinReplicaCount int32 `json:"minReplicaCount"`
		MaxReplicaCount int32 `json:"maxReplicaCount"`
		Fallback        struct {
			FailureThreshold int32  `json:"failureThreshold"`
			Replicas         int32  `json:"replicas"`
			Behavior         string `json:"behavior"`
		} `json:"fallback"`
		Triggers []struct {
			Type     string             `json:"type"`
			Metadata prometheusMetadata `json:"metadata"`
		} `json:"triggers"`
	} `json:"spec"`
}

// prometheusMetadata is the metadata of the trigger prometheus.
type prometheusMetadata struct {
	ServerAddress    string `json:"serverAddress"`
	Query            string `json:"query"`
	Threshold        string `json:"threshold"`
	IgnoreNullValues string `json:"ignoreNullValues"`
}

// ExternalSecret has the fields of the type of the External Secrets Operator (external-secrets.io/v1) that the chart uses.
type ExternalSecret struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		RefreshInterval string `json:"refreshInterval"`
		SecretStoreRef  struct {
			Kind string `json:"kind"`
			Name string `json:"name"`
		} `json:"secretStoreRef"`
		Target struct {
			Name string `json:"name"`
		} `json:"target"`
		Data []struct {
			SecretKey string    `json:"secretKey"`
			RemoteRef remoteRef `json:"remoteRef"`
		} `json:"data"`
		DataFrom []struct {
			Extract remoteRef `json:"extract"`
		} `json:"dataFrom"`
	} `json:"spec"`
}

type remoteRef struct {
	Key string `json:"key"`
}

// HealthCheckPolicy has the fields of the type of GKE (networking.gke.io/v1) that the chart uses.
type HealthCheckPolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		Default struct {
			Config struct {
				Type            string `json:"type"`
				HTTPHealthCheck struct {
					PortSpecification string `json:"portSpecification"`
					Port              int32  `json:"port"`
					RequestPath       string `json:"requestPath"`
				} `json:"httpHealthCheck"`
			} `json:"config"`
		} `json:"default"`
		TargetRef struct {
			Group string `json:"group"`
			Kind  string `json:"kind"`
			Name  string `json:"name"`
		} `json:"targetRef"`
	} `json:"spec"`
}

// DeepCopyObject implements runtime.Object. The copy shares its slices.
func (s *ScaledObject) DeepCopyObject() runtime.Object { c := *s; return &c }

// DeepCopyObject implements runtime.Object. The copy shares its slices.
func (s *ExternalSecret) DeepCopyObject() runtime.Object { c := *s; return &c }

// DeepCopyObject implements runtime.Object.
func (p *HealthCheckPolicy) DeepCopyObject() runtime.Object { c := *p; return &c }

func addOperators(s *runtime.Scheme) error {
	for gv, object := range map[schema.GroupVersion]runtime.Object{
		{Group: "keda.sh", Version: "v1alpha1"}:       &ScaledObject{},
		{Group: "external-secrets.io", Version: "v1"}: &ExternalSecret{},
		{Group: "networking.gke.io", Version: "v1"}:   &HealthCheckPolicy{},
	} {
		s.AddKnownTypes(gv, object)
		metav1.AddToGroupVersion(s, gv)
	}
	return nil
}
