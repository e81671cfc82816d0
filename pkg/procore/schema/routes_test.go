package schema

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// A route of ours that is neither published nor a row of unpublished.json may be wrong without
// anybody's notice. The routes are read from the source: some are internal to their service.
func TestEveryRouteIsKnown(t *testing.T) {
	found := 0
	for _, root := range []string{"../..", "../../../services"} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				if name, method, path, ok := route(file, n); ok {
					found++
					if !Known(method, path) {
						t.Errorf("the route %s, %s %s, is neither published nor in unpublished.json", name, method, path)
					}
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if found < 50 {
		t.Errorf("%d routes were found in the source: route does not know how they are written", found)
	}
}

// route reads procore.Route{Name: …, Method: …, Path: …}, Route{…, …, …} in package procore, and
// get(name, path) in package links.
func route(file *ast.File, n ast.Node) (name, method, path string, ok bool) {
	switch n := n.(type) {
	case *ast.CallExpr:
		if f, is := n.Fun.(*ast.Ident); is && f.Name == "get" && file.Name.Name == "links" {
			return text(n.Args[0]), "GET", "/rest/v1.0/" + text(n.Args[1]), true
		}
	case *ast.CompositeLit:
		typed, local := n.Type.(*ast.Ident)
		selected, imported := n.Type.(*ast.SelectorExpr)
		if len(n.Elts) != 3 || !(local && typed.Name == "Route" || imported && selected.Sel.Name == "Route") {
			return
		}
		var parts [3]string
		for i, e := range n.Elts {
			if kv, keyed := e.(*ast.KeyValueExpr); keyed {
				e = kv.Value
			}
			parts[i] = text(e)
		}
		return parts[0], parts[1], parts[2], strings.HasPrefix(parts[2], "/rest/v1.0/") && parts[0] != ""
	}
	return
}

// text is a string literal's value; "": it is none.
func text(e ast.Expr) string {
	lit, ok := e.(*ast.BasicLit)
	if !ok {
		return ""
	}
	s, _ := strconv.Unquote(lit.Value)
	return s
}
