curl -fsS "$TIEBACK_URL/tieback.operator.v1.RequestService/ListRequests" \
  -H "Authorization: Bearer $TIEBACK_TOKEN" -H 'Content-Type: application/json' \
  -d '{"states": ["attention", "failed"], "categories": ["export"], "pageSize": 20}'
