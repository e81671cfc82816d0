package company

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// fieldsOf returns the names of the fields of an item, as in the file.
func fieldsOf[E any]() (names []string) {
	for _, f := range reflect.VisibleFields(reflect.TypeFor[E]()) {
		names = append(names, f.Tag.Get("yaml"))
	}
	return names
}

// decode decodes an item of the file, such as "a company". malformed is the error if it can't be decoded.
// unknown is the error if it has unknown fields, which may be misspelled. Both name the line.
func decode[E any](n *yaml.Node, what string) (e E, malformed, unknown error) {
	malformed = inPlainWords(n.Decode(&e))
	fields := fieldsOf[E]()
	if names := unknownFields(n, fields, map[*yaml.Node]bool{}); len(names) > 0 {
		unknown = fmt.Errorf("not a field of %s: %s; its fields are %s", what, strings.Join(names, ", "), strings.Join(fields, ", "))
	}
	return e, malformed, unknown
}

// unknownFields returns the unknown fields of an item and of the mappings that it merges (<<).
func unknownFields(n *yaml.Node, fields []string, seen map[*yaml.Node]bool) (names []string) {
	if n = target(n); seen[n] {
		return nil
	}
	seen[n] = true
	if n.Kind == yaml.SequenceNode { // several merged mappings
		for _, of := range n.Content {
			names = append(names, unknownFields(of, fields, seen)...)
		}
	}
	if n.Kind != yaml.MappingNode {
		return names
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		switch key := target(n.Content[i]); {
		case key.ShortTag() == "!!merge":
			names = append(names, unknownFields(n.Content[i+1], fields, seen)...)
		case !slices.Contains(fields, key.Value):
			names = append(names, fmt.Sprintf("%s (line %d)", safeName(key.Value), key.Line))
		}
	}
	return names
}

// target returns the node that an alias refers to, and any other node itself.
func target(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// safeName returns the name of an unknown field if it looks like a name. Other text may be a secret in the wrong place.
func safeName(field string) string {
	if fieldLike.MatchString(field) {
		return field
	}
	return "[value]"
}

var (
	fieldLike = regexp.MustCompile(`^[a-z_]{1,40}$`)
	// quoted matches what an error of the YAML package quotes of a file, which may be a secret. The quoted text may contain
	// quotation marks, so the match extends to the last one.
	quoted = regexp.MustCompile("(?s)`.*`|(anchor )'.*'|\".*\"")

	lineOf   = regexp.MustCompile(`^line \d+: `)
	notFound = regexp.MustCompile(`(?s)^line \d+: field (.*) not found in type \S+$`)
	cannot   = regexp.MustCompile(`(?s)^line \d+: cannot unmarshal (?:!!(\w+)|\S+) (?:.* )?into (\S+)$`)
	twice    = regexp.MustCompile(`(?s)^line \d+: mapping key .* already defined at (line \d+)$`)
)

// typeNames are YAML's kinds and Go's types in words for users.
var typeNames = map[string]string{
	"str": "a text", "int": "a number", "float": "a number", "bool": "true or false", "null": "nothing", "seq": "a list", "map": "a mapping", "timestamp": "a date",
	"int64": "a whole number", "string": "a text", "[]string": "a list of texts", "map[string]string": "a mapping of texts",
	"[]yaml.Node": "a list of companies", "company.entry": "a mapping with a company's fields", "company.file": "a mapping with companies",
	"company.clientNodes": "a list of clients", "company.clientEntry": "a mapping with a client's fields",
}

// inPlainWords translates an error of the YAML package into words for users. It keeps the line numbers and removes quoted
// values.
func inPlainWords(err error) error {
	if err == nil {
		return nil
	}
	var typed *yaml.TypeError
	if !errors.As(err, &typed) {
		return errors.New(quoted.ReplaceAllString(err.Error(), "${1}[value]"))
	}
	var errs []error
	for _, line := range typed.Errors {
		errs = append(errs, errors.New(lineOf.FindString(line)+mistake(line)))
	}
	return errors.Join(errs...)
}

// mistake translates one line of a yaml.TypeError. It keeps only text that can't be a value.
func mistake(line string) string {
	if m := notFound.FindStringSubmatch(line); m != nil {
		return safeName(m[1]) + " is not a field of the companies file; its fields are clients and companies"
	}
	if m := cannot.FindStringSubmatch(line); m != nil {
		return fmt.Sprintf("expected %[2]s, found %[1]s", cmp.Or(typeNames[m[1]], "something else"), cmp.Or(typeNames[m[2]], "another value"))
	}
	if m := twice.FindStringSubmatch(line); m != nil {
		return "a field that is already at " + m[1]
	}
	return "can't be read"
}
