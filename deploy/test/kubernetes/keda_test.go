package kubernetes

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// ScaledObject has the fields of KEDA's type that the manifests use, after keda.sh/docs/2.22/reference/scaledobject-spec; other
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

// DeepCopyObject implements runtime.Object. The copy shares its slices.
func (s *ScaledObject) DeepCopyObject() runtime.Object {
	c := *s
	return &c
}

func addKEDA(s *runtime.Scheme) error {
	gv := schema.GroupVersion{Group: "keda.sh", Version: "v1alpha1"}
	s.AddKnownTypes(gv, &ScaledObject{})
	metav1.AddToGroupVersion(s, gv)
	return nil
}
