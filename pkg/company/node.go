package company

import "go.yaml.in/yaml/v3"

// field returns a mapping's value by name, or nil if it has none.
func field(mapping *yaml.Node, name string) *yaml.Node {
	if mapping.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == name {
			return mapping.Content[i+1]
		}
	}
	return nil
}

// set sets a value of a mapping, in its place if it has one, and reports whether that changed anything.
func set(mapping *yaml.Node, name string, value *yaml.Node) bool {
	old := field(mapping, name)
	if old == nil {
		mapping.Content = append(mapping.Content, scalar(name), value)
		return true
	}
	if value.Kind == yaml.ScalarNode && old.Kind == yaml.ScalarNode && old.Value == value.Value && old.ShortTag() != "!!null" {
		return false
	}
	value.HeadComment, value.LineComment, value.FootComment = old.HeadComment, old.LineComment, old.FootComment
	*old = *value
	return true
}

// scalar returns a text node. The encoder quotes it if necessary.
func scalar(value string) *yaml.Node {
	n := &yaml.Node{}
	n.SetString(value)
	return n
}
