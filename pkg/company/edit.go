package company

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/tieback/tieback/pkg/secretfile"
)

// File is a companies file that is being edited. Comments and the order of fields are kept. It is not safe
// for concurrent use.
type File struct {
	path string
	read []byte // the content that was read; nil: there is no file yet
	doc  *yaml.Node
}

// Edit reads the companies file at path. A file that does not exist is empty.
func Edit(path string) (*File, error) {
	if path == "" {
		return nil, errPathNotSet
	}
	f := &File{path: path, doc: &yaml.Node{}}
	raw, err := secretfile.Read(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("companies file: %w", err)
	}
	f.read = raw
	if err := yaml.Unmarshal(raw, f.doc); err != nil {
		return nil, fmt.Errorf("companies file %s: %w", path, inPlainWords(err))
	}
	if _, err := f.list("companies"); err != nil {
		return nil, fmt.Errorf("companies file %s: %w", path, err)
	}
	return f, nil
}

// list returns the sequence of a field, companies or clients. It adds the field if it is missing, clients
// before companies.
func (f *File) list(name string) (*yaml.Node, error) {
	if f.doc.Kind == 0 {
		f.doc.Kind = yaml.DocumentNode
	}
	if len(f.doc.Content) == 0 || f.doc.Content[0].Tag == "!!null" {
		f.doc.Content = []*yaml.Node{{Kind: yaml.MappingNode, Tag: "!!map"}}
	}
	root := f.doc.Content[0]
	if root.Kind != yaml.MappingNode {
		return nil, errors.New("it must be a mapping with the field companies")
	}
	list := field(root, name)
	if list == nil {
		list = &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
		at := len(root.Content)
		if name == "clients" {
			at = 0
		}
		root.Content = slices.Insert(root.Content, at, scalar(name), list)
	}
	if list.Tag == "!!null" {
		*list = yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq", HeadComment: list.HeadComment, FootComment: list.FootComment}
	}
	if list.Kind != yaml.SequenceNode {
		return nil, fmt.Errorf("%s: must be a list", name)
	}
	return list, nil
}

// Entry is the entry of a company or a client in the file.
type Entry struct {
	file *File
	id   int64 // of a company
	node *yaml.Node
}

// Entry returns the entry of a company, or nil if there is none.
func (f *File) Entry(id int64) *Entry {
	if n := f.find("companies", "id", strconv.FormatInt(id, 10)); n != nil {
		return &Entry{file: f, id: id, node: n}
	}
	return nil
}

// Client returns the entry of a named client, or nil if there is none.
func (f *File) Client(name string) *Entry {
	if root := f.doc.Content[0]; field(root, "clients") == nil {
		return nil
	}
	if n := f.find("clients", "name", name); n != nil {
		return &Entry{file: f, node: n}
	}
	return nil
}

// find returns the first item of a list whose field fieldName has the given value, or nil.
func (f *File) find(listName, fieldName, value string) *yaml.Node {
	list, err := f.list(listName)
	if err != nil {
		return nil
	}
	for _, n := range list.Content {
		if v := field(target(n), fieldName); v != nil && v.Value == value {
			return target(n)
		}
	}
	return nil
}

// Add adds an entry that has only its id.
func (f *File) Add(id int64) (*Entry, error) {
	e, err := f.add("companies")
	if err == nil {
		e.id = id
		e.SetNumber("id", id)
	}
	return e, err
}

// AddClient adds a client that has only its name.
func (f *File) AddClient(name string) (*Entry, error) {
	e, err := f.add("clients")
	if err == nil {
		e.Set("name", name)
	}
	return e, err
}

func (f *File) add(to string) (*Entry, error) {
	list, err := f.list(to)
	if err != nil {
		return nil, err
	}
	n := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	list.Content = append(list.Content, n)
	list.Style = 0 // a list written as [] gets one item per line
	return &Entry{file: f, node: n}, nil
}

// Get returns the value of a field as written, or "" if it is missing.
func (e *Entry) Get(name string) string {
	if v := field(e.node, name); v != nil {
		return v.Value
	}
	return ""
}

// Set writes a field as text, and reports whether that changed the entry.
func (e *Entry) Set(name, value string) bool { return set(e.node, name, scalar(value)) }

// SetNumber writes a field as a number, and reports whether that changed the entry.
func (e *Entry) SetNumber(name string, value int64) bool {
	return set(e.node, name, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!int", Value: strconv.FormatInt(value, 10)})
}

// Drop removes a field and reports whether there was one.
func (e *Entry) Drop(name string) bool {
	for i := 0; i+1 < len(e.node.Content); i += 2 {
		if e.node.Content[i].Value == name {
			e.node.Content = append(e.node.Content[:i], e.node.Content[i+2:]...)
			return true
		}
	}
	return false
}

// Connector returns the connector's settings as written, without the content of secret files.
func (e *Entry) Connector() map[string]string {
	settings := map[string]string{}
	if n := field(e.node, "connector"); n != nil && n.Decode(&settings) != nil {
		return nil
	}
	return settings
}

// SetConnector replaces the connector's settings, written in the given order.
func (e *Entry) SetConnector(settings map[string]string, order []string) {
	n := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Style: yaml.FlowStyle}
	for _, name := range order {
		n.Content = append(n.Content, scalar(name), scalar(settings[name]))
	}
	set(e.node, "connector", n)
}

// Company returns the entry as a validated company, except that it needs no webhook tokens yet. Mistakes in
// the entries of other companies do not matter.
func (e *Entry) Company() (*Company, error) {
	w, malformed, unknown := decode[entry](e.node, "a company")
	if err := errors.Join(malformed, unknown); err != nil {
		return nil, fmt.Errorf("companies file %s: company %d: %w", e.file.path, e.id, err)
	}
	var named clientNodes
	if list := field(e.file.doc.Content[0], "clients"); list != nil {
		if err := inPlainWords(list.Decode(&named)); err != nil {
			return nil, fmt.Errorf("companies file %s: clients: %w", e.file.path, err)
		}
	}
	c, err := w.company(secretfile.Read, parseClients(named, secretfile.Read), func(reader) ([]string, error) { return nil, nil })
	if err != nil {
		return nil, fmt.Errorf("companies file %s: company %d: %w", e.file.path, e.id, err)
	}
	return c, nil
}

// Save replaces the file atomically. A new file is readable only by its owner. Save fails if the entry of company id
// is invalid, or if the file has changed since it was read.
func (f *File) Save(id int64) error {
	var text bytes.Buffer
	enc := yaml.NewEncoder(&text)
	enc.SetIndent(2)
	if err := errors.Join(enc.Encode(f.doc), enc.Close()); err != nil {
		return err
	}
	raw := text.Bytes()
	p := parse(raw, secretfile.Read)
	if p.set[id] == nil {
		return fmt.Errorf("companies file %s: not written, because it would be invalid: %w", f.path, p.allErrors())
	}
	now, err := secretfile.Read(f.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) || !bytes.Equal(now, f.read) {
		return fmt.Errorf("companies file %s: not written, because it has changed since it was read: run the command again", f.path)
	}
	if err := WriteFile(f.path, raw); err != nil {
		return fmt.Errorf("companies file: %w", err)
	}
	f.read = raw
	return nil
}

// Dir returns the folder of the file as an absolute path.
func (f *File) Dir() (string, error) {
	path, err := filepath.Abs(f.path)
	return filepath.Dir(path), err
}

// Tokens returns the webhook tokens of the entry, the newest last; none if their file does not exist yet.
func (e *Entry) Tokens() ([]Secret, error) {
	var inline []string
	if n := field(e.node, "webhook_tokens"); n != nil && n.Decode(&inline) != nil {
		return nil, errors.New("webhook_tokens: must be a list of one token, or two during a rotation")
	}
	if path := e.Get("webhook_tokens_file"); path != "" {
		raw, err := secretfile.ReadSecret(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("webhook_tokens_file: %w", err)
		}
		inline = strings.Fields(string(raw))
	}
	if len(inline) == 0 {
		return nil, nil
	}
	secrets := make([]Secret, len(inline))
	for i, t := range inline {
		secrets[i] = Secret(t)
	}
	return secrets, validTokens(inline)
}

// field returns the value of a mapping's field, or nil if the mapping has no such field.
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

// set sets a field of a mapping, and reports whether that changed the mapping. The place and the comments of the field are kept.
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
