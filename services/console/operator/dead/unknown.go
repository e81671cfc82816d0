package dead

import (
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// keepUnknown copies the unknown fields of the original, which a newer version wrote, to the edited message. It returns
// an error if a nested message (such as a close-out) has unknown fields, because the edited parts can't be matched with
// the original ones.
func keepUnknown(original []byte, edited proto.Message) error {
	was := edited.ProtoReflect().New()
	if proto.Unmarshal(original, was.Interface()) != nil {
		return nil // a malformed message has no fields to keep
	}
	if part := unknownWithin(was); part != "" {
		return fmt.Errorf("its %s has fields of a newer version, which an edit by this version would lose: edit it with the newer version", part)
	}
	edited.ProtoReflect().SetUnknown(was.GetUnknown())
	return nil
}

// unknownWithin returns the name of a field with unknown fields at any depth, or "".
func unknownWithin(m protoreflect.Message) (name string) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if f.Message() == nil || f.IsMap() { // our maps have no messages
			return true
		}
		for _, part := range parts(f, v) {
			if len(part.GetUnknown()) > 0 || unknownWithin(part) != "" {
				name = string(f.Name())
			}
		}
		return name == ""
	})
	return name
}

func parts(f protoreflect.FieldDescriptor, v protoreflect.Value) []protoreflect.Message {
	if !f.IsList() {
		return []protoreflect.Message{v.Message()}
	}
	var all []protoreflect.Message
	for i := range v.List().Len() {
		all = append(all, v.List().Get(i).Message())
	}
	return all
}
