package dead

import (
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tieback/tieback/pkg/request"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// A year after 9999 can't be written as JSON. One resolution with such a time made the whole list fail.
func TestTimeOutOfRangeDoesNotHideDeadLetters(t *testing.T) {
	never := &timestamppb.Timestamp{Seconds: 1e12}
	d := request.DeadLetter{DeadLetter: &tiebackv1.DeadLetter{}, Resolutions: []*tiebackv1.Resolution{{DeadLetter: 1, At: never}}}
	if _, err := protojson.Marshal(letter(d)); err != nil {
		t.Error(err)
	}
}
