SELECT component, status, value, threshold, detail, remedy FROM etl.health_report()
