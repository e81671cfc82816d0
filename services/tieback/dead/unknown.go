package dead

import (
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// keepUnknown gives an edited message the fields that a newer version wrote into the original, and that
// nobody here could see to edit. Those of its parts (a close-out's) can't be given back, as nobody can
// tell which edited part was which: then it is an error, and that version can edit it.
func keepUnknown(original []byte, edited proto.Message) error {
	was := edited.ProtoReflect().New()
	if proto.Unmarshal(original, was.Interface()) != nil {
		return nil // what does not parse says nothing
	}
	if part := unknownWithin(was); part != "" {
		return fmt.Errorf("a newer version wrote fields into its %s that this version does not know, and an edit here would lose them: edit it with that version", part)
	}
	edited.ProtoReflect().SetUnknown(was.GetUnknown())
	return nil
}

// unknownWithin names the first field with a part, however deep, that holds unknown fields; "": none does.
func unknownWithin(m protoreflect.Message) (name string) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if f.Message() == nil || f.IsMap() { // no map of ours holds messages
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
